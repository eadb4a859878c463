"""How a Run folder keeps what it holds: whole files, traces, tables, labels. What is damaged is found and said."""
