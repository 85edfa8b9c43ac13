"""The pages, one module for each: `register(app)` puts it onto the server."""
