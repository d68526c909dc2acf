"""What asyncio lacks: work that cancelling its caller does not stop, awaitable threads, and events that start small."""
