from pipeline import Result, outcomes, plan, run

print(f"{plan('configs/tickets.yaml').records} records, nothing is sent yet")

summary = run("configs/tickets.yaml", budget_usd=5)  # the same call again carries on where it stopped
summary.raise_for_state()  # BudgetReached, NeedsPerson, … where something stopped it

for outcome in outcomes("configs/tickets.yaml"):
    if isinstance(outcome, Result):
        print(outcome.custom_id, outcome.record["subject"], outcome.answer["embedding"][:3])
print(f"{summary.records.ok} answers for ${summary.money.spent_usd:.6f}")
