"""What is answered over HTTP: one file per resource, put together in `app.py`."""
