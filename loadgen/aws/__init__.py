"""The AWS side: one shared session, and what is asked of it."""
