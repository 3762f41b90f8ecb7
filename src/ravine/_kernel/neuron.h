/* neuron.c for one precision: REAL with its integers BITS, of which LARGEST has all but the sign, its functions FMA and
 * SCALAR_FMA, and NAME, which makes names of that precision. */

typedef REAL NAME(vector) __attribute__((vector_size(VECTOR_BYTES)));
typedef BITS NAME(mask) __attribute__((vector_size(VECTOR_BYTES)));
typedef struct {
    NAME(vector) v[WIDE];
} NAME(lanes);
typedef struct {
    NAME(lanes) cost, slope;
} NAME(pair);

#define VECTOR NAME(vector)
#define MASK NAME(mask)
#define LANES_OF NAME(lanes)
#define PAIR NAME(pair)
#define IN_VECTOR ((int)(VECTOR_BYTES / sizeof(REAL)))
#define LANES (WIDE * IN_VECTOR)
#define WIDEST ((int)(32 / sizeof(REAL)))
#define LEVELS 4
#define ROWS 4
#define FEW_ROUNDS 16 /* from which on torch's sums have levels */

#define ALL(number) ((VECTOR){0} + (REAL)(number))
#define SELECT(mask, one, other) ((VECTOR)(((MASK)(one) & (mask)) | ((MASK)(other) & ~(mask))))
#define ABS(a) ((VECTOR)((MASK)(a) & LARGEST))

/* What all positions have in common. */
struct NAME(data) {
    const REAL *x, *y;
    int samples;
    int width;    /* numbers in the vectors by which torch adds up a row */
    int bulk;     /* samples whose slopes torch works out in vectors; the others, its loop for what is left over */
    double share; /* what a slope is multiplied by: 1 / samples, for MSE twice that */
    double turn;  /* delta or beta, where the criterion has one */
};

/* What is worked out, known where it is compiled. */
struct NAME(task) {
    enum loss loss;
    int slopes; /* gradients too; each sample's losses and slopes are then held from the first pass to the second */
    int fused;  /* the gradient by the weight is a chain of fused multiply-adds */
    int row;    /* all lanes have one weight: the points of a row of a map */
};

struct NAME(positions) {
    LANES_OF weight, bias;
    REAL one_weight;
};

ALWAYS VECTOR NAME(each_lane)(VECTOR a, VECTOR b, VECTOR c)
{
    for (int l = 0; l < IN_VECTOR; l++)
        c[l] = SCALAR_FMA(a[l], b[l], c[l]);
    return c;
}

ALWAYS VECTOR NAME(multiply_add)(int fused, VECTOR a, VECTOR b, VECTOR c)
{
    return fused ? FMA(a, b, c) : c + a * b;
}

/* The criterion of a residual d, and the slope there; NaN goes through both as in torch. */
ALWAYS VECTOR NAME(cost)(enum loss loss, VECTOR d, REAL turn)
{
    VECTOR size = ABS(d), half = ALL(0.5);

    switch (loss) {
    case MSE:
        return d * d;
    case L1:
        return size;
    case HUBER:
        return SELECT(size > turn, turn * (size - half * turn), half * size * size);
    default:
        return SELECT(size >= turn, size - half * turn, half * size * size / turn);
    }
}

ALWAYS VECTOR NAME(slope)(enum loss loss, VECTOR d, REAL share, REAL turn)
{
    switch (loss) {
    case MSE:
        return d * share;
    case L1:
        return SELECT(d > 0, ALL(1), SELECT(d < 0, ALL(-1), ALL(0))) * share;
    case SMOOTH_L1:
        d /= turn;
        turn = 1;
        /* fall through */
    default:
        return SELECT(d < -turn, ALL(-turn), SELECT(d > turn, ALL(turn), d)) * share;
    }
}

/* The same in torch's loop for what vectors leave over, in which delta and beta have stayed doubles. */
static __attribute__((noinline)) VECTOR NAME(slope_left_over)(enum loss loss, VECTOR all, REAL share, double turn)
{
    for (int l = 0; l < IN_VECTOR; l++) {
        REAL d = all[l];
        double edge = loss == HUBER ? (double)share * turn : (double)share;
        double within = loss == HUBER ? (double)(share * d) : (double)(share * d) / turn;

        all[l] = (REAL)((double)d <= -turn ? -edge : (double)d >= turn ? edge : within);
    }
    return all;
}

/* One sample in all lanes. */
ALWAYS PAIR NAME(sample)(const struct NAME(task) task, int left_over, const struct NAME(data) *data, int i,
                         const struct NAME(positions) *at)
{
    const REAL x = data->x[i], y = data->y[i], share = (REAL)data->share, turn = (REAL)data->turn;
    PAIR found = {0};

    EACH {
        VECTOR product = task.row ? ALL(at->one_weight * x) : at->weight.v[v] * x;
        VECTOR d = product + at->bias.v[v] - y;

        found.cost.v[v] = NAME(cost)(task.loss, d, turn);
        if (task.slopes)
            found.slope.v[v] = left_over ? NAME(slope_left_over)(task.loss, d, share, data->turn)
                                         : NAME(slope)(task.loss, d, share, turn);
    }
    return found;
}

ALWAYS PAIR NAME(term)(const struct NAME(task) task, const struct NAME(data) *data, const struct NAME(positions) *at,
                       const PAIR *held, int i)
{
    return task.slopes ? held[i] : NAME(sample)(task, 0, data, i, at);
}

ALWAYS void NAME(add)(const struct NAME(task) task, PAIR *sum, const PAIR *more)
{
    EACH {
        sum->cost.v[v] += more->cost.v[v];
        if (task.slopes)
            sum->slope.v[v] += more->slope.v[v];
    }
}

/* Samples, each a stride from the one before, are added one after the other. */
ALWAYS void NAME(extend)(const struct NAME(task) task, PAIR *sum, const struct NAME(data) *data,
                         const struct NAME(positions) *at, const PAIR *held, int first, int stride, int count)
{
    PAIR here = *sum;

    for (int k = 0; k < count; k++) {
        PAIR more = NAME(term)(task, data, at, held, first + k * stride);
        NAME(add)(task, &here, &more);
    }
    *sum = here;
}

/* torch adds up a row of numbers (aten/src/ATen/native/cpu/SumKernel.cpp) in vectors of `width`, four of them a round:
 * number i of the whole rounds goes to sum i % (4 * width). Every 2^power rounds such a sum is carried on to the next
 * level, so that none takes in too many small numbers; at the end all levels are added to the first. Vectors that are
 * left over go to the first of the four; numbers that are left over go to a sum of their own, and to that the sums of
 * the lanes of a vector are added one after the other. None of these sums knows of another: each is made by itself. */
ALWAYS PAIR NAME(sum_of_rounds)(const struct NAME(task) task, const struct NAME(data) *data,
                                const struct NAME(positions) *at, const PAIR *held, int place, int round, int rounds)
{
    PAIR level[LEVELS] = {0};
    int log = 0;

    while (log < 30 && 1 << log < rounds)
        log++;
    const int power = log / LEVELS > 4 ? log / LEVELS : 4, some = 1 << power;

    for (int r = 0; r < rounds; r += some) {
        int left = rounds - r < some ? rounds - r : some;

        NAME(extend)(task, &level[0], data, at, held, r * round + place, round, left);
        for (int j = 1; j < LEVELS && left == some; j++) {
            NAME(add)(task, &level[j], &level[j - 1]);
            level[j - 1] = (PAIR){0};
            if ((r + some) & ((some - 1) << (j * power)))
                break;
        }
    }
    for (int j = 1; j < LEVELS; j++)
        NAME(add)(task, &level[0], &level[j]);
    return level[0];
}

ALWAYS PAIR NAME(total)(const struct NAME(task) task, const struct NAME(data) *data, const struct NAME(positions) *at,
                        const PAIR *held)
{
    const int samples = data->samples, width = data->width, round = ROWS * width, rounds = samples / round;
    const int vectors = samples / width * width, whole = rounds ? rounds * round : width, rows = rounds ? ROWS : 1;
    PAIR sum = {0};

    NAME(extend)(task, &sum, data, at, held, vectors, 1, samples - vectors);
    for (int e = 0; e < width && vectors; e++) {
        PAIR lane = {0};

        for (int k = 0; k < rows; k++) {
            const int place = k * width + e;
            PAIR one = NAME(term)(task, data, at, held, place);

            if (rounds >= FEW_ROUNDS)
                one = NAME(sum_of_rounds)(task, data, at, held, place, round, rounds);
            else
                NAME(extend)(task, &one, data, at, held, place + round, round, rounds - 1);
            if (k == 0)
                NAME(extend)(task, &one, data, at, held, whole + e, width, (vectors - whole) / width);
            if (k == 0)
                lane = one;
            else
                NAME(add)(task, &lane, &one);
        }
        NAME(add)(task, &sum, &lane);
    }
    return sum;
}

struct NAME(values) {
    LANES_OF loss, by_weight, by_bias;
};

/* LANES positions: their losses and, where slopes are wanted, the gradients by weight and bias. */
ALWAYS void NAME(evaluate_lanes)(const struct NAME(task) task, const struct NAME(data) *data,
                                 const struct NAME(positions) *at, PAIR *held, struct NAME(values) *found)
{
    if (task.slopes) {
        const int some = task.loss == HUBER || task.loss == SMOOTH_L1 ? data->bulk : data->samples;
        LANES_OF chain = {0};

        for (int i = 0; i < data->samples; i++) {
            PAIR each = i < some ? NAME(sample)(task, 0, data, i, at) : NAME(sample)(task, 1, data, i, at);

            EACH chain.v[v] = NAME(multiply_add)(task.fused, each.slope.v[v], ALL(data->x[i]), chain.v[v]);
            held[i] = each;
        }
        found->by_weight = chain;
    }
    PAIR sum = NAME(total)(task, data, at, held);
    EACH found->loss.v[v] = sum.cost.v[v] / (REAL)data->samples;
    if (task.slopes)
        found->by_bias = sum.slope;
}

typedef void NAME(evaluation)(const struct NAME(data) *, const struct NAME(positions) *, PAIR *, struct NAME(values) *);

#define EVALUATION(name, loss, slopes, fused, row)                                                                     \
    static void NAME(name)(const struct NAME(data) *data, const struct NAME(positions) *at, PAIR *held,                \
                           struct NAME(values) *found)                                                                 \
    {                                                                                                                  \
        NAME(evaluate_lanes)((struct NAME(task)){loss, slopes, fused, row}, data, at, held, found);                    \
    }
#define EVALUATIONS(name, loss)                                                                                        \
    EVALUATION(name##_loss, loss, 0, 0, 0)                                                                             \
    EVALUATION(name##_row, loss, 0, 0, 1)                                                                              \
    EVALUATION(name##_slope, loss, 1, 0, 0)                                                                            \
    EVALUATION(name##_fused, loss, 1, 1, 0)
EVALUATIONS(mse, MSE)
EVALUATIONS(l1, L1)
EVALUATIONS(huber, HUBER)
EVALUATIONS(smooth_l1, SMOOTH_L1)

#define WAYS_OF(name) {NAME(name##_loss), NAME(name##_row), NAME(name##_slope), NAME(name##_fused)}
static NAME(evaluation) *const NAME(evaluations)[][WAYS] = {
    [MSE] = WAYS_OF(mse), [L1] = WAYS_OF(l1), [HUBER] = WAYS_OF(huber), [SMOOTH_L1] = WAYS_OF(smooth_l1)};

/* Numbers of some lanes from memory, and to it; lanes that nobody asked for hold 0, which is never slow. */
ALWAYS LANES_OF NAME(load)(const REAL *from, ptrdiff_t some)
{
    LANES_OF all = {0};

    if (some >= LANES)
        memcpy(&all, from, sizeof all);
    else
        memcpy(&all, from, (size_t)some * sizeof(REAL));
    return all;
}

ALWAYS void NAME(store)(REAL *to, const LANES_OF *all, ptrdiff_t some)
{
    if (some >= LANES)
        memcpy(to, all, sizeof *all);
    else
        memcpy(to, all, (size_t)some * sizeof(REAL));
}

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

static __attribute__((noinline)) void NAME(step)(int fused, const struct NAME(rule) *rule, int begun, LANES_OF *param, LANES_OF *buffer,
                       const LANES_OF *gradient)
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

int NAME(lanes_at_once)(void)
{
    return LANES;
}

#define DATA                                                                                                           \
    const struct NAME(data) data = {x, y, samples, width, bulk, share, turn};                                          \
    if (loss < MSE || loss > SMOOTH_L1 || samples < 1 || width < 1 || width > WIDEST || width & (width - 1))           \
        return 1

/* Evaluate `count` positions; a null `by_weight` asks for losses alone. `room` is for 2 * samples * lanes_at_once()
 * numbers, 64 bytes aligned. All of these return 0, or 1 where they do not know how. */
int NAME(evaluate)(int loss, int fused, int width, int bulk, const REAL *x, const REAL *y, int samples, double share,
                   double turn, REAL *room, ptrdiff_t count, const REAL *weight, const REAL *bias, REAL *losses,
                   REAL *by_weight, REAL *by_bias)
{
    DATA;
    NAME(evaluation) *const evaluate =
        NAME(evaluations)[loss][!by_weight ? LOSS_ALONE : fused ? WITH_FUSED_SLOPE : WITH_SLOPE];

    for (ptrdiff_t first = 0; first < count; first += LANES) {
        const ptrdiff_t some = count - first;
        const struct NAME(positions) at = {NAME(load)(weight + first, some), NAME(load)(bias + first, some), 0};
        struct NAME(values) found;

        evaluate(&data, &at, (PAIR *)room, &found);
        NAME(store)(losses + first, &found.loss, some);
        if (by_weight) {
            NAME(store)(by_weight + first, &found.by_weight, some);
            NAME(store)(by_bias + first, &found.by_bias, some);
        }
    }
    return 0;
}

/* Write the losses over a grid (weights, biases). */
int NAME(grid)(int loss, int fused, int width, int bulk, const REAL *x, const REAL *y, int samples, double share,
               double turn, ptrdiff_t weights, ptrdiff_t biases, const REAL *weight, const REAL *bias, REAL *losses)
{
    DATA;
    (void)fused;
    for (ptrdiff_t row = 0; row < weights; row++) {
        for (ptrdiff_t first = 0; first < biases; first += LANES) {
            const struct NAME(positions) at = {{{{0}}}, NAME(load)(bias + first, biases - first), weight[row]};
            struct NAME(values) found;

            NAME(evaluations)[loss][OF_A_ROW](&data, &at, NULL, &found);
            NAME(store)(losses + row * biases + first, &found.loss, biases - first);
        }
    }
    return 0;
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
            const struct NAME(positions) at = {place[WEIGHT], place[BIAS], 0};
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

#undef DATA
#undef WAYS_OF
#undef EVALUATIONS
#undef EVALUATION
#undef ABS
#undef SELECT
#undef ALL
#undef FEW_ROUNDS
#undef ROWS
#undef LEVELS
#undef WIDEST
#undef LANES
#undef IN_VECTOR
#undef PAIR
#undef LANES_OF
#undef MASK
#undef VECTOR
