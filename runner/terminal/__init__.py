"""What commands print: problems, plans, progress, tables. One file for each kind of output; nothing here decides anything."""
