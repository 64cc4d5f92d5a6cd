"""Draws sigma by hour of the day (UTC), from a file of `marketstate history`: as a script, or cell
by cell in a notebook. It needs pip install '.[frames,history,view]'.

    marketstate history candles --out states.parquet
    python sigma_by_hour.py states.parquet sigma.png
"""

# %% The states of a file. Only the columns that are needed are read.
import argparse
import sys

import matplotlib.pyplot as plt

from marketstate.schemas.frames import of_history

parser = argparse.ArgumentParser(description="Draw sigma by hour of the day.")
parser.add_argument("history", metavar="FILE", nargs="?", default="states.parquet")
parser.add_argument("picture", metavar="PICTURE", nargs="?", default="sigma.png")
# The arguments of a notebook are those of its kernel.
options = parser.parse_args([] if hasattr(sys, "ps1") else None)
states = of_history(options.history, columns=["symbol", "sigma"])

# %% For each symbol and hour, the median and the middle half. sigma is that of a window of returns,
# so an hour is still in the sigma of the candles after it.
hours = states.index.hour.rename("hour")
by_hour = states.groupby(["symbol", hours], observed=True)["sigma"].quantile([0.25, 0.5, 0.75])
table = by_hour.unstack()
print(table.groupby("symbol", observed=True)[0.5].describe()[["count", "min", "max"]])

# %% A panel for each symbol.
symbols = table.index.unique("symbol")
figure, panels = plt.subplots(len(symbols), sharex=True, squeeze=False, layout="constrained")
figure.set_size_inches(8, 1 + 2 * len(symbols))
for symbol, panel in zip(symbols, panels.flat, strict=True):
    of_symbol = table.loc[symbol] * 100
    panel.fill_between(of_symbol.index, of_symbol[0.25], of_symbol[0.75], alpha=0.25)
    panel.plot(of_symbol.index, of_symbol[0.5], marker="o")
    panel.set_title(symbol, loc="left")
    panel.set_ylabel("sigma [% per candle]")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
panels[-1, 0].set_xticks(range(0, 24, 3))
panels[-1, 0].set_xlabel("hour of the day (UTC)")
figure.savefig(options.picture, dpi=110)
print(f"wrote {options.picture}: {len(symbols)} symbols, {len(states):,} states")
