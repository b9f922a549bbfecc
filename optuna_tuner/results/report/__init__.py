"""The one-page report of a study: one document, rendered as JSON, Markdown and HTML."""
