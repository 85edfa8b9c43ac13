"""A model behind HTTP: uploads, a bounded queue, one predicting process, results that outlive the server."""
