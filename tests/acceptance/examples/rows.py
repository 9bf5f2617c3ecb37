from pipeline import DeadLetter, open_run

tickets = [
    {"id": "a-1", "body": "I was charged twice in October."},
    {"id": "a-2", "body": "The replacement came a day early, thank you!"},
]
with open_run(
    job="chat",
    endpoint="openai",
    model="gpt-5.6-luna",
    system="Answer with one word: billing, account or praise.",
    prompt="{{ body }}",
    max_output_tokens=200,
    budget_usd=1,
    input=tickets,
    id="id",
    state="out/topics",  # rows, answers and progress are kept here
) as outcomes:
    for outcome in outcomes:  # each as soon as it is on the disk; a slow loop slows the run
        if isinstance(outcome, DeadLetter):
            print(outcome.custom_id, "failed:", outcome.message)
        else:
            print(outcome.record["body"], "→", outcome.answer["text"], f"(${outcome.cost_usd:.6f})")
print(outcomes.summary.state)
