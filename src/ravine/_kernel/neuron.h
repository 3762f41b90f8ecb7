/* neuron.c for one precision: REAL with its functions FMA and ABS, and NAME, which makes names of that precision. */

#define LANES ((int)(LANE_BYTES / sizeof(REAL)))
#define WIDEST ((int)(32 / sizeof(REAL)))
#define LEVELS 4
#define ROWS 4

/* What all positions have in common. */
struct NAME(data) {
    const REAL *x, *y;
    int samples;
    int width;    /* numbers in the vectors by which torch adds up a row */
    int bulk;     /* samples whose slopes torch works out in vectors; the others, its loop for what is left over */
    double share; /* what a slope is multiplied by: 1 / samples, for MSE twice that */
    double turn;  /* delta or beta, where the criterion has one */
};

/* torch adds up a row of numbers (aten/src/ATen/native/cpu/SumKernel.cpp) in vectors of `width`, four of them a round:
 * number i of the whole rounds goes to sum i % (4 * width). Every 2^power rounds these sums are carried on to the next
 * level, so that none takes in too many small numbers; at the end all levels are added to the first. Vectors that are
 * left over go to the first of the four; numbers that are left over go to a sum of their own, and to that the sums of
 * the lanes of a vector are added one after the other. */
#define REST (ROWS * WIDEST)
struct NAME(sums) {
    REAL level[LEVELS][ROWS * WIDEST + 1][LANES];
};

ALWAYS void NAME(add)(REAL *restrict sum, const REAL *restrict more)
{
    for (int l = 0; l < LANES; l++)
        sum[l] += more[l];
}

static void NAME(carry)(struct NAME(sums) *sums, int places, int rounds, int power)
{
    for (int j = 1; j < LEVELS; j++) {
        for (int k = 0; k < places; k++) {
            NAME(add)(sums->level[j][k], sums->level[j - 1][k]);
            memset(sums->level[j - 1][k], 0, sizeof sums->level[0][0]);
        }
        if (rounds & (((1 << power) - 1) << (j * power)))
            break;
    }
}

static void NAME(join_levels)(struct NAME(sums) *sums, int places)
{
    for (int j = 1; j < LEVELS; j++)
        for (int k = 0; k < places; k++)
            NAME(add)(sums->level[0][k], sums->level[j][k]);
}

static void NAME(total)(struct NAME(sums) *sums, int samples, int width, REAL *restrict out)
{
    int rows = samples < ROWS * width ? 1 : ROWS;

    memcpy(out, sums->level[0][REST], sizeof sums->level[0][0]);
    for (int e = 0; e < width && width <= samples; e++) {
        for (int k = 1; k < rows; k++)
            NAME(add)(sums->level[0][e], sums->level[0][k * width + e]);
        NAME(add)(out, sums->level[0][e]);
    }
}

/* The criterion of a residual d, and the slope there; NaN goes through both as in torch. */
ALWAYS REAL NAME(cost)(enum loss loss, REAL d, REAL turn)
{
    REAL size = ABS(d), half = (REAL)0.5;

    switch (loss) {
    case MSE:
        return d * d;
    case L1:
        return size;
    case HUBER:
        return size > turn ? turn * (size - half * turn) : half * size * size;
    default:
        return size >= turn ? size - half * turn : half * size * size / turn;
    }
}

ALWAYS REAL NAME(slope)(enum loss loss, REAL d, REAL share, REAL turn)
{
    switch (loss) {
    case MSE:
        return d * share;
    case L1:
        return (REAL)((d > 0) - (d < 0)) * share;
    case SMOOTH_L1:
        d /= turn;
        turn = 1;
        /* fall through */
    default:
        return (d < -turn ? -turn : d > turn ? turn : d) * share;
    }
}

/* The same in torch's loop for what vectors leave over, in which delta and beta have stayed doubles. */
ALWAYS REAL NAME(slope_left_over)(enum loss loss, REAL d, REAL share, double turn)
{
    double edge = loss == HUBER ? (double)share * turn : (double)share;
    double within = loss == HUBER ? (double)(share * d) : (double)(share * d) / turn;

    return (REAL)((double)d <= -turn ? -edge : (double)d >= turn ? edge : within);
}

/* One sample in all lanes; its losses and slopes are the first of their sums, or added to them. */
ALWAYS void NAME(lanes)(enum loss loss, int fused, int slopes, int first, int left_over, const struct NAME(data) *data,
                        int i, const REAL *restrict weight, const REAL *restrict bias, REAL *restrict by_weight,
                        REAL *restrict cost_sum, REAL *restrict slope_sum)
{
    const REAL x = data->x[i], y = data->y[i], share = (REAL)data->share, turn = (REAL)data->turn;

    for (int l = 0; l < LANES; l++) {
        REAL d = weight[l] * x + bias[l] - y;
        REAL cost = NAME(cost)(loss, d, turn);

        cost_sum[l] = first ? cost : cost_sum[l] + cost;
        if (slopes) {
            REAL slope = left_over ? NAME(slope_left_over)(loss, d, share, data->turn)
                                   : NAME(slope)(loss, d, share, turn);

            by_weight[l] = fused ? FMA(slope, x, by_weight[l]) : by_weight[l] + slope * x;
            slope_sum[l] = first ? slope : slope_sum[l] + slope;
        }
    }
}

ALWAYS void NAME(sample)(enum loss loss, int fused, int slopes, int first, const struct NAME(data) *data, int i,
                         const REAL *weight, const REAL *bias, REAL *by_weight, REAL *cost_sum, REAL *slope_sum)
{
    if (slopes && (loss == HUBER || loss == SMOOTH_L1) && i >= data->bulk)
        NAME(lanes)(loss, fused, 1, first, 1, data, i, weight, bias, by_weight, cost_sum, slope_sum);
    else
        NAME(lanes)(loss, fused, slopes, first, 0, data, i, weight, bias, by_weight, cost_sum, slope_sum);
}

/* LANES positions: their losses and, where slopes are wanted, the gradients by weight and bias. */
ALWAYS void NAME(group)(enum loss loss, int fused, int slopes, const struct NAME(data) *data,
                        const REAL *restrict weight, const REAL *restrict bias, REAL *restrict losses,
                        REAL *restrict by_weight, REAL *restrict by_bias)
{
    const int samples = data->samples, width = data->width, round = ROWS * width;
    const int vectors = samples / width * width, rounds = samples / round, whole = rounds * round;
    const int fresh = rounds ? round : vectors ? width : 0;
    struct NAME(sums) cost, slope;
    int log = 0;

    while (log < 30 && 1 << log < rounds)
        log++;
    const int power = log / LEVELS > 4 ? log / LEVELS : 4, deep = rounds >= 1 << power;

    if (deep) {
        memset(cost.level[1], 0, sizeof cost - sizeof cost.level[0]);
        memset(slope.level[1], 0, sizeof slope - sizeof slope.level[0]);
    }
    memset(cost.level[0][REST], 0, sizeof cost.level[0][0]);
    memset(slope.level[0][REST], 0, sizeof slope.level[0][0]);
    memset(by_weight, 0, sizeof slope.level[0][0]);
    for (int i = 0; i < samples; i++) {
        int place = i < whole ? i & (round - 1) : i < vectors ? i & (width - 1) : REST;

        if (i < fresh)
            NAME(sample)(loss, fused, slopes, 1, data, i, weight, bias, by_weight, cost.level[0][place],
                         slope.level[0][place]);
        else
            NAME(sample)(loss, fused, slopes, 0, data, i, weight, bias, by_weight, cost.level[0][place],
                         slope.level[0][place]);
        if (deep && i < whole && ((i + 1) & ((round << power) - 1)) == 0) {
            NAME(carry)(&cost, round, (i + 1) / round, power);
            NAME(carry)(&slope, round, (i + 1) / round, power);
        }
        if (deep && i + 1 == whole) {
            NAME(join_levels)(&cost, round);
            NAME(join_levels)(&slope, round);
        }
    }
    NAME(total)(&cost, samples, width, losses);
    for (int l = 0; l < LANES; l++)
        losses[l] /= (REAL)samples;
    if (slopes)
        NAME(total)(&slope, samples, width, by_bias);
}

ALWAYS void NAME(groups)(enum loss loss, int fused, int slopes, const struct NAME(data) *data, ptrdiff_t count,
                         const REAL *weight, const REAL *bias, REAL *losses, REAL *by_weight, REAL *by_bias)
{
    REAL w[LANES], b[LANES], found[LANES], gw[LANES], gb[LANES];

    for (ptrdiff_t first = 0; first < count; first += LANES) {
        size_t some = count - first < LANES ? (size_t)(count - first) : LANES, bytes = some * sizeof(REAL);

        if (some < LANES) { /* lanes that nobody asked for must hold numbers, or they would be slow */
            memset(w, 0, sizeof w);
            memset(b, 0, sizeof b);
        }
        memcpy(w, weight + first, bytes);
        memcpy(b, bias + first, bytes);
        NAME(group)(loss, fused, slopes, data, w, b, found, gw, gb);
        memcpy(losses + first, found, bytes);
        if (slopes) {
            memcpy(by_weight + first, gw, bytes);
            memcpy(by_bias + first, gb, bytes);
        }
    }
}

/* Evaluate `count` positions; a null `by_weight` asks for losses alone. Returns 0, or 1 where it does not know how. */
int NAME(evaluate)(int loss, int fused, int width, int bulk, const REAL *x, const REAL *y, int samples, double share,
                   double turn, ptrdiff_t count, const REAL *weight, const REAL *bias, REAL *losses, REAL *by_weight,
                   REAL *by_bias)
{
    const struct NAME(data) data = {x, y, samples, width, bulk, share, turn};

    if (samples < 1 || width < 1 || width > WIDEST || width & (width - 1))
        return 1;
#define CASE(loss, fused, slopes)                                                                                      \
    case (loss) * 3 + (fused) + (slopes):                                                                              \
        NAME(groups)(loss, fused, slopes, &data, count, weight, bias, losses, by_weight, by_bias);                     \
        return 0
#define CASES(loss)                                                                                                    \
    CASE(loss, 0, 0);                                                                                                  \
    CASE(loss, 0, 1);                                                                                                  \
    CASE(loss, 1, 1)
    switch (loss * 3 + (by_weight ? 1 + !!fused : 0)) {
        CASES(MSE);
        CASES(L1);
        CASES(HUBER);
        CASES(SMOOTH_L1);
    }
#undef CASES
#undef CASE
    return 1;
}

#undef REST
#undef ROWS
#undef LEVELS
#undef WIDEST
#undef LANES
