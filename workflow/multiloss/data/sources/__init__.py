"""Where data comes from: addresses, downloads, archives, and what lies in a folder."""
