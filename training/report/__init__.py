"""What every report is made of: pages, fonts, colours. Imports no other room."""
