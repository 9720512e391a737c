"""Schema migrations, run by `engine.store.migrate`."""
