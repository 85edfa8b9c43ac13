"""The browser app: pages, the viewer, uploads, and the commands' jobs. Its state lies on disk, in a workspace."""
