"""A plain simulation of one scheme on the host, to compare theory with."""

import numpy as np


def sojourns(generator, is_open, start: int, channels: int, openings: int, seed: int):
    """Lengths [channel, opening] of the first openings and of the shutting after each, in s.

    Direct method, all channels side by side; every one starts in state `start`, which is shut.
    """
    generator, is_open = np.asarray(generator, float), np.asarray(is_open, bool)
    rng = np.random.default_rng(seed)
    out = -np.diagonal(generator)
    chance = np.cumsum(np.where(np.eye(len(out)) > 0, 0.0, generator) / out[:, None], axis=1)
    state = np.full(channels, start)
    # column 0 of the shuttings is what comes before the first opening
    opened = np.zeros((channels, openings + 2))
    shut = np.zeros((channels, openings + 2))
    count = np.zeros(channels, int)
    row = np.arange(channels)
    while count.min() <= openings:
        stay = rng.exponential(size=channels) / out[state]
        # a channel that has gone on long enough fills the last column, which is not handed out
        at = np.minimum(count, openings + 1)
        now_open = is_open[state]
        np.add.at(opened, (row[now_open], at[now_open]), stay[now_open])
        np.add.at(shut, (row[~now_open], at[~now_open]), stay[~now_open])
        after = (rng.random(channels)[:, None] > chance[state]).sum(axis=1)
        count += ~now_open & is_open[after]
        state = after
    return opened[:, 1 : openings + 1], shut[:, 1 : openings + 1]
