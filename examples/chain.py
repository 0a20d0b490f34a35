"""A chain over routes.yaml: streams the answer, then tells who gave it and who did not.

    python examples/chain.py "Why is the sky blue?"

Asks whoever is there: set a provider's key, or run `crux local pull` for the small model that runs
inside the process.
"""

import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from crux_integrations import ChatCrux

prompt = ChatPromptTemplate.from_messages([("system", "Answer in one sentence."), ("user", "{q}")])
model = ChatCrux()
chain = prompt | model | StrOutputParser()
question = " ".join(sys.argv[1:]) or "Why is the sky blue?"

for piece in chain.stream({"q": question}):
    print(piece, end="", flush=True)
print("\n")

message = (prompt | model).invoke({"q": question})
crux = message.response_metadata["crux"]
print(f"{crux['provider']}:{crux['model']}, ${crux['cost_usd'] or 0:.6f}")
for attempt in crux["attempts"]:
    print(f"  {attempt['provider']}:{attempt['model']}: {attempt['outcome']} ({attempt['reason']})")
for out in crux["rejected"]:
    print(f"  not tried: {out['provider']}:{out['model']}: {out['evidence']}")
