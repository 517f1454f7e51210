"""How results are shown.

charts    figures and tables that are declared
elements  what a report is made of
page      the report: one self-contained HTML file
style     one look for all figures
curves    the values of a drawing's curves, for the report's script
texts     how numbers and settings are written
"""
