"""A model of an LLM server under load: made for judging searches, not for predicting a real server."""
