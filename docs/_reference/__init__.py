"""Reference pages written by code: what the parser, the records and the plugins say of themselves, in both languages."""
