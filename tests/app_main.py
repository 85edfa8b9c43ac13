"""Run by NiceGUI's simulation: see app_pages."""

import app_pages

app_pages.start()
