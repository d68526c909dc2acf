"""What asyncio lacks: tasks that cannot be torn, threads that can be awaited, events that cost nothing while unused."""
