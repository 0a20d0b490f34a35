"""LangChain over the router: the chat model ``ChatCrux``.

:mod:`messages`, :mod:`blocks`, :mod:`answers` and :mod:`tools` turn LangChain's values into the
library's and back, and touch nothing else; :mod:`chat_model` drives the router.
"""
