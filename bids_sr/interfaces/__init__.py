"""Nipype skins: load files, call one function of the library, save files.

No image processing lives here.  What a step did is passed on as a record, a
JSON-able dictionary that ends in the sidecars, the QC file and the report.
"""
