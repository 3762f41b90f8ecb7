/* Whole runs of SGD in one precision, on what neuron.h evaluates. */

/* SGD in LANES runs (torch/optim/sgd.py, _single_tensor_sgd): what a setting switches off is left out, as in torch, for
 * inf + 0 * p is no inf. */
struct NAME(rule) {
    LANES_OF row[SETTINGS];
    int climbs, decays, moves, ahead; /* in any of the runs */
};

ALWAYS struct NAME(rule) NAME(read_rule)(const REAL *settings, ptrdiff_t count, ptrdiff_t first)
{
    struct NAME(rule) rule = {0};
    const ptrdiff_t some = count - first < LANES ? count - first : LANES;

    for (int k = 0; k < SETTINGS; k++)
        rule.row[k] = NAME(load)(settings + k * count + first, some);
    for (ptrdiff_t r = first; r < first + some; r++) {
        rule.climbs |= settings[SIGN * count + r] < 0;
        rule.decays |= settings[DECAYS * count + r] != 0;
        rule.moves |= settings[MOVES * count + r] != 0;
        rule.ahead |= settings[AHEAD * count + r] != 0;
    }
    return rule;
}

static __attribute__((noinline)) void NAME(step)(int fused, const struct NAME(rule) *rule, int begun, LANES_OF *param,
                                                 LANES_OF *buffer, const LANES_OF *gradient)
{
    EACH {
        const VECTOR p = param->v[v], momentum = rule->row[MOMENTUM].v[v];
        VECTOR grad = gradient->v[v], update;

        if (rule->climbs)
            grad *= rule->row[SIGN].v[v];
        if (rule->decays)
            grad = SELECT(rule->row[DECAYS].v[v] != 0,
                          NAME(multiply_add)(fused, rule->row[WEIGHT_DECAY].v[v], p, grad), grad);
        update = grad;
        if (rule->moves) {
            VECTOR buf = buffer->v[v];

            buf = begun ? NAME(multiply_add)(fused, rule->row[UNDAMPED].v[v], grad, momentum * buf) : grad;
            buffer->v[v] = update = buf;
            if (rule->ahead)
                update = SELECT(rule->row[AHEAD].v[v] != 0, NAME(multiply_add)(fused, momentum, buf, grad), update);
            update = SELECT(rule->row[MOVES].v[v] != 0, update, grad);
        }
        param->v[v] = NAME(multiply_add)(fused, rule->row[MINUS_LR].v[v], update, p);
    }
}

/* Take `steps` steps of SGD in `count` runs: settings (SETTINGS, runs), and where they stand (PLACES, runs), which is
 * written over; `begun` tells that momentum buffers hold something. Of each step is recorded what was before it: the
 * loss, and the position where `position` is not null; from one to the next it is so many numbers. */
int NAME(descend)(int loss, int fused, int width, int bulk, const REAL *x, const REAL *y, int samples, double share,
                  double turn, REAL *room, int fused_step, int steps, int begun, ptrdiff_t count, const REAL *settings,
                  REAL *state, REAL *position, ptrdiff_t step_of_position, ptrdiff_t row_of_position, REAL *losses,
                  ptrdiff_t step_of_losses)
{
    DATA;
    NAME(evaluation) *const evaluate = NAME(evaluations)[loss][fused ? WITH_FUSED_SLOPE : WITH_SLOPE];

    for (ptrdiff_t first = 0; first < count; first += LANES) {
        const ptrdiff_t some = count - first;
        const struct NAME(rule) rule = NAME(read_rule)(settings, count, first);
        LANES_OF place[PLACES];

        for (int k = 0; k < PLACES; k++)
            place[k] = NAME(load)(state + k * count + first, some);
        for (int t = 0; t < steps; t++) {
            const struct NAME(positions) at = {place[WEIGHT], place[BIAS]};
            struct NAME(values) found;

            evaluate(&data, &at, (PAIR *)room, &found);
            NAME(store)(losses + t * step_of_losses + first, &found.loss, some);
            if (position) {
                REAL *here = position + t * step_of_position + first;

                NAME(store)(here, &place[WEIGHT], some);
                NAME(store)(here + row_of_position, &place[BIAS], some);
            }
            NAME(step)(fused_step, &rule, begun || t, &place[WEIGHT], &place[WEIGHT_BUFFER], &found.by_weight);
            NAME(step)(fused_step, &rule, begun || t, &place[BIAS], &place[BIAS_BUFFER], &found.by_bias);
        }
        for (int k = 0; k < PLACES; k++)
            NAME(store)(state + k * count + first, &place[k], some);
    }
    return 0;
}
