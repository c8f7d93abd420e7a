"""The comparison of runs, from their folders alone: tables, the trade-off front, a page that works offline."""
