"""The manifest door: a YAML file becomes typed values, with every error found at once.

``load.load`` reads a manifest and everything it includes into ``model.Manifest``; ``schema.manifest_schema`` describes the same
language for editors. Both follow one description, ``shape``. Raw YAML never leaves this package, save for parameter values
(``with:``) and inline products, which other floors read as nodes so that their errors keep line and column.
"""
