/* Scalar reference: Gillespie's direct method, one channel after the other. */
#include <math.h>
#include <stdint.h>

#define MAX_FAN 8

static uint64_t mixed(uint64_t *x) {
    uint64_t z = (*x += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static inline uint64_t turn(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

/* xoshiro256++ (Blackman & Vigna 2021) */
static inline uint64_t draw(uint64_t s[4]) {
    uint64_t out = turn(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = turn(s[3], 45);
    return out;
}

/* leave [window][state]: rate of leaving; limit [window][state][fan - 1]: thresholds on 32 bits;
   target [window][state][fan]; change [steps + 2]: difference histogram. Returns state changes. */
int64_t simulate(uint64_t seed, int64_t n, int windows, int states, int fan, const double *leave,
                 const uint32_t *limit, const int32_t *target, const uint8_t *open, int start,
                 const double *stop_s, double step_s, int64_t *change) {
    uint64_t s[4];
    double wait_s[2 * 64], per_step = 1.0 / step_s;
    int64_t events = 0;
    for (int k = 0; k < 4; k++) s[k] = mixed(&seed);
    for (int k = 0; k < windows * states; k++) wait_s[k] = leave[k] > 0 ? 1.0 / leave[k] : INFINITY;
    for (int64_t c = 0; c < n; c++) {
        int state = start;
        double t = 0.0;
        for (int w = 0; w < windows; w++) {
            for (;;) {
                int at = w * states + state;
                if (leave[at] == 0.0) break;
                uint64_t bits = draw(s);
                double u = ((uint32_t)bits + 0.5) * 0x1p-32;
                t -= (double)logf((float)u) * wait_s[at];
                if (t >= stop_s[w]) break;
                uint32_t pick = (uint32_t)(bits >> 32);
                int k = 0;
                for (int j = 0; j < fan - 1; j++) k += pick >= limit[at * (fan - 1) + j];
                int next = target[at * fan + k];
                if (open[next] != open[state]) change[(int)ceil(t * per_step)] += open[next] ? 1 : -1;
                state = next;
                events++;
            }
            t = stop_s[w];
        }
    }
    return events;
}
