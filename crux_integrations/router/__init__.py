"""The router: routes declared in YAML, plans made by a pure function, attempts carried out."""
