import asyncio

from pipeline import BudgetReached, open_run


async def first_answers(wanted: int) -> list[str]:
    """Take some answers and leave; what is in flight is committed, and the next run goes on from there."""
    found = []
    async with open_run("configs/tickets.yaml", limits={"rpm": 500}, budget_usd=0.01) as outcomes:
        async for outcome in outcomes:
            found.append(outcome.custom_id)
            if len(found) == wanted:
                break
    return found


try:
    print(asyncio.run(first_answers(2)))
except BudgetReached as stopped:
    print(f"not enough money: {stopped}")
