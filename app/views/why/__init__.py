"""The pages of the Why panel."""
