"""DICOM and NIfTI in: scan folders and archives, judge every series, read it as an exact Hounsfield volume."""
