"""Labels drawn in the browser: what is sent to and fro, drafts, who is at a case, and the routes for all of it."""
