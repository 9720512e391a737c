"""Labels from radiology reports: each finding present, absent or unknown. Free of torch: the command imports it."""
