"""The pictures of a run: their data as plain JSON-able documents, and their front-end. Never imports torch."""
