"""Pure values: runs, events, statuses, JSON, redaction. No I/O, no threads, no event loop."""
