"""Report content: tables and sentences, independent of the format they are shown in."""
