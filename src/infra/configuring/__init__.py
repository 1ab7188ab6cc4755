"""How settings are read, checked, explained and written: what `settings.load_settings` and `rag config` stand on."""
