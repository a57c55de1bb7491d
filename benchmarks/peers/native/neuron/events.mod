: One channel per instance, moved by events that it sends to itself (Gillespie's direct method).
NEURON {
    POINT_PROCESS ChannelEvents
    RANGE state, window
    GLOBAL states, fan, start, switch, stop, width, leave, limit, target, conducts, change
    RANDOM bits
}

PARAMETER {
    states = 0
    fan = 0
    start = 0
    switch = 0 (ms)
    stop = 0 (ms)
    width = 1 (ms)
    leave[16]
    limit[128]
    target[128]
    conducts[8]
}

ASSIGNED {
    state
    window
    wait (ms)
    change[4096]
}

INITIAL {
    state = start
    window = 0
    wait = waited(0)
    if (wait >= switch) {
        net_send(switch, 2)
    } else {
        net_send(wait, 1)
    }
}

FUNCTION waited(now (ms)) (ms) { LOCAL rate
    rate = leave[window * states + state]
    waited = 1e9
    if (rate > 0) {
        waited = random_negexp(bits) / rate
    }
}

: flag 1: a change of state; flag 2: the end of the window, after which the wait is drawn again
NET_RECEIVE (weight) { LOCAL draw, row, k, next
    if (flag == 2) {
        window = 1
    } else {
        row = (window * states + state) * fan
        draw = random_uniform(bits)
        k = 0
        while (draw >= limit[row + k]) {
            k = k + 1
        }
        next = target[row + k]
        if (conducts[next] != conducts[state]) {
            k = ceil(t / width)
            change[k] = change[k] + conducts[next] - conducts[state]
        }
        state = next
    }
    wait = waited(t)
    if (window == 0 && t + wait >= switch) {
        net_send(switch - t, 2)
    } else if (t + wait < stop) {
        net_send(wait, 1)
    }
}
