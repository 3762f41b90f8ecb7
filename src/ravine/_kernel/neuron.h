/* The neuron's losses and gradients in one precision; neuron.c says what REAL, BITS, LARGEST, FMA, SCALAR_FMA and NAME
 * are. */

typedef REAL NAME(vector) __attribute__((vector_size(VECTOR_BYTES)));
typedef BITS NAME(mask) __attribute__((vector_size(VECTOR_BYTES)));
typedef struct {
    NAME(vector) v[WIDE];
} NAME(lanes);
typedef struct {
    NAME(lanes) cost, slope;
} NAME(pair);

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
};

struct NAME(positions) {
    LANES_OF weight, bias;
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

/* The residual of one sample in all lanes. */
ALWAYS LANES_OF NAME(residual)(const struct NAME(data) *data, int i, const struct NAME(positions) *at)
{
    const REAL x = data->x[i], y = data->y[i];
    LANES_OF found;

    EACH found.v[v] = at->weight.v[v] * x + at->bias.v[v] - y;
    return found;
}

/* The loss of one sample, and its slope. */
ALWAYS PAIR NAME(sample)(const struct NAME(task) task, int left_over, const struct NAME(data) *data,
                         const LANES_OF *residual)
{
    const REAL share = (REAL)data->share, turn = (REAL)data->turn;
    PAIR found = {0};

    EACH {
        VECTOR d = residual->v[v];

        found.cost.v[v] = NAME(cost)(task.loss, d, turn);
        if (task.slopes)
            found.slope.v[v] = left_over ? NAME(slope_left_over)(task.loss, d, share, data->turn)
                                         : NAME(slope)(task.loss, d, share, turn);
    }
    return found;
}

/* Whether of each sample its residual is held, of which loss and slope are soon made again: a store costs more. */
#define IS_SHORT(task) ((task).loss == MSE || (task).loss == L1)

ALWAYS PAIR NAME(term)(const struct NAME(task) task, const struct NAME(data) *data, const struct NAME(positions) *at,
                       const PAIR *held, int i)
{
    if (!task.slopes) {
        const LANES_OF residual = NAME(residual)(data, i, at);
        return NAME(sample)(task, 0, data, &residual);
    }
    return IS_SHORT(task) ? NAME(sample)(task, 0, data, (const LANES_OF *)held + i) : held[i];
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
    const int vectors = samples / width * width, whole = rounds ? rounds * round : width;
    PAIR sum = {0};

    NAME(extend)(task, &sum, data, at, held, vectors, 1, samples - vectors);
    const int more = (vectors - whole) / width;

    if (rounds >= FEW_ROUNDS) {
        for (int e = 0; e < width; e++) {
            PAIR lane = NAME(sum_of_rounds)(task, data, at, held, e, round, rounds);

            NAME(extend)(task, &lane, data, at, held, whole + e, width, more);
            for (int k = 1; k < ROWS; k++) {
                PAIR one = NAME(sum_of_rounds)(task, data, at, held, k * width + e, round, rounds);
                NAME(add)(task, &lane, &one);
            }
            NAME(add)(task, &sum, &lane);
        }
    } else if (vectors) {
        for (int e = 0; e < width; e++) {
            PAIR lane = NAME(term)(task, data, at, held, e);

            NAME(extend)(task, &lane, data, at, held, round + e, round, rounds - 1);
            NAME(extend)(task, &lane, data, at, held, whole + e, width, more);
            if (rounds) {
                for (int k = 1; k < ROWS; k++) {
                    PAIR one = NAME(term)(task, data, at, held, k * width + e);
                    NAME(extend)(task, &one, data, at, held, k * width + e + round, round, rounds - 1);
                    NAME(add)(task, &lane, &one);
                }
            }
            NAME(add)(task, &sum, &lane);
        }
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
            const LANES_OF residual = NAME(residual)(data, i, at);
            PAIR each = i < some ? NAME(sample)(task, 0, data, &residual) : NAME(sample)(task, 1, data, &residual);

            EACH chain.v[v] = NAME(multiply_add)(task.fused, each.slope.v[v], ALL(data->x[i]), chain.v[v]);
            if (IS_SHORT(task))
                ((LANES_OF *)held)[i] = residual;
            else
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

#define EVALUATION(name, loss, slopes, fused)                                                                          \
    static void NAME(name)(const struct NAME(data) *data, const struct NAME(positions) *at, PAIR *held,                \
                           struct NAME(values) *found)                                                                 \
    {                                                                                                                  \
        NAME(evaluate_lanes)((struct NAME(task)){loss, slopes, fused}, data, at, held, found);                         \
    }
#define EVALUATIONS(name, loss)                                                                                        \
    EVALUATION(name##_loss, loss, 0, 0)                                                                                \
    EVALUATION(name##_slope, loss, 1, 0)                                                                               \
    EVALUATION(name##_fused, loss, 1, 1)
EVALUATIONS(mse, MSE)
EVALUATIONS(l1, L1)
EVALUATIONS(huber, HUBER)
EVALUATIONS(smooth_l1, SMOOTH_L1)

#define WAYS_OF(name) {NAME(name##_loss), NAME(name##_slope), NAME(name##_fused)}
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
        const struct NAME(positions) at = {NAME(load)(weight + first, some), NAME(load)(bias + first, some)};
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

/* Write the losses over a grid (weights, biases): its points one after another, so that a vector can go over the end of
 * a row. */
int NAME(grid)(int loss, int fused, int width, int bulk, const REAL *x, const REAL *y, int samples, double share,
               double turn, ptrdiff_t weights, ptrdiff_t biases, const REAL *weight, const REAL *bias, REAL *losses)
{
    DATA;
    (void)fused;
    NAME(evaluation) *const evaluate = NAME(evaluations)[loss][LOSS_ALONE];
    const ptrdiff_t count = weights * biases;
    ptrdiff_t row = 0, column = 0;

    for (ptrdiff_t first = 0; first < count; first += LANES) {
        const int some = count - first < LANES ? (int)(count - first) : LANES;
        REAL weights_here[LANES] = {0}, biases_here[LANES] = {0};
        struct NAME(values) found;

        for (int lane = 0; lane < some;) {
            const int of_row = biases - column < some - lane ? (int)(biases - column) : some - lane;

            for (int k = 0; k < of_row; k++)
                weights_here[lane + k] = weight[row];
            memcpy(biases_here + lane, bias + column, (size_t)of_row * sizeof(REAL));
            lane += of_row;
            column += of_row;
            if (column == biases) {
                column = 0;
                row++;
            }
        }
        const struct NAME(positions) at = {NAME(load)(weights_here, LANES), NAME(load)(biases_here, LANES)};
        evaluate(&data, &at, NULL, &found);
        NAME(store)(losses + first, &found.loss, some);
    }
    return 0;
}
