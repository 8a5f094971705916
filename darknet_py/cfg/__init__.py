"""The cfg language: text to sections, and sections to typed options."""
