"""A folder for PYTHONPATH: `import pynvml` then finds the fake."""
