"""Any folder of videos of people who talk."""
