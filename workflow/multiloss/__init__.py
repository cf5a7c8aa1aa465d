"""Which loss function for imbalanced medical images, and is an ensemble really better?

The science of the workflow as an importable package: pure functions on arrays and tables.
Importing it loads nothing heavy; TensorFlow comes in only with the modules that train or
run networks.
"""

__version__ = "0.11.0"
