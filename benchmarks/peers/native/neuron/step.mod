: One channel per instance, moved once per time step by the exact probabilities of that step.
NEURON {
    POINT_PROCESS ChannelStep
    RANGE state
    GLOBAL states, start, switch, chain, conducts, opened
    RANDOM bits
}

PARAMETER {
    states = 0
    start = 0
    switch = 0 (ms)
    chain[128]
    conducts[8]
}

ASSIGNED {
    dt (ms)
    state
    opened
}

INITIAL {
    state = start
}

BREAKPOINT {
    SOLVE move METHOD after_cvode
}

: row of the cumulative probabilities, diagonal first: most channels stay
PROCEDURE move() { LOCAL draw, row, next
    draw = random_uniform(bits)
    row = state * states
    if (t > switch + dt / 2) {
        row = row + states * states
    }
    if (draw >= chain[row]) {
        next = 1
        while (draw >= chain[row + next]) {
            next = next + 1
        }
        if (next <= state) {
            next = next - 1
        }
        opened = opened + conducts[next] - conducts[state]
        state = next
    }
}
