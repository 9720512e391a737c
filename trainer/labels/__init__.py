"""Labels from radiology reports: 75 findings as present, absent or unknown. No torch here: the command line imports this."""
