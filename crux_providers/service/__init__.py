"""Services that programs set up once: the database."""
