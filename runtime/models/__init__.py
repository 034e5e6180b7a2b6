"""Models: the `ChatModel` Protocol and its adapters."""
