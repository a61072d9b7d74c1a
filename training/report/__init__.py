"""Parts of every report: pages, fonts, colours. Imports no other room."""
