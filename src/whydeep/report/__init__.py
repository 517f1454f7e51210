"""How results are shown.

style   one look for all figures
page    the report: one self-contained HTML file
"""
