/* Rate and latency over time as one SVG: two panels above each other, time to the right. */
#include "cli/bench.h"

enum {
    WIDTH = 900,
    PANEL_HEIGHT = 200,
    LEFT = 70,
    RIGHT = 30,
    TOP = 40,
    BETWEEN = 50,
    TICKS = 5,
};

/* One panel: where it stands, and what it spans. */
struct panel {
    const char *label;
    double top;
    double most; /* of the vertical axis, a round number */
    double from_s;
    double to_s;
};

/* Negative: there was none. */
typedef double (*value_of)(const struct bench_interval *interval);

static double rate_of(const struct bench_interval *interval)
{
    return (double)interval->records / interval->seconds;
}

static double p50_of(const struct bench_interval *interval)
{
    return interval->records > 0 ? (double)interval->p50_us / 1000 : -1;
}

static double p99_of(const struct bench_interval *interval)
{
    return interval->records > 0 ? (double)interval->p99_us / 1000 : -1;
}

/* The next number of the row 1, 2, 5, 10, 20, ... */
static double round_up(double value)
{
    double step = 0.001;

    while (step * 10 < value) {
        step *= 10;
    }
    return step >= value       ? step
           : step * 2 >= value ? step * 2
           : step * 5 >= value ? step * 5
                               : step * 10;
}

static double most_of(const struct bench_result *result, value_of value)
{
    double most = 0;

    for (size_t i = 0; i < result->interval_count; i++) {
        double one = value(&result->intervals[i]);
        most = one > most ? one : most;
    }
    return round_up(most);
}

static double x_of(const struct panel *panel, double time_s)
{
    return LEFT + (time_s - panel->from_s) / (panel->to_s - panel->from_s) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct panel *panel, double value)
{
    return panel->top + PANEL_HEIGHT * (1 - value / panel->most);
}

static void draw_values(FILE *file, const struct panel *panel)
{
    for (int i = 0; i <= TICKS; i++) {
        double value = panel->most * i / TICKS;
        fprintf(file,
                "<path d='M%d %.1fH%d' class='g'/><text x='%d' y='%.1f' class='y'>%.10g</text>\n",
                LEFT,
                y_of(panel, value),
                WIDTH - RIGHT,
                LEFT - 6,
                y_of(panel, value) + 4,
                value);
    }
}

/* At round times. */
static void draw_times(FILE *file, const struct panel *panel)
{
    double step_s = round_up((panel->to_s - panel->from_s) / (2 * TICKS));

    for (int i = 0; panel->from_s + i * step_s <= panel->to_s; i++) {
        double time_s = panel->from_s + i * step_s;
        fprintf(
            file,
            "<path d='M%.1f %.0fv4' class='t'/><text x='%.1f' y='%.0f' class='x'>%.4g s</text>\n",
            x_of(panel, time_s),
            panel->top + PANEL_HEIGHT,
            x_of(panel, time_s),
            panel->top + PANEL_HEIGHT + 16,
            time_s);
    }
}

static void draw_axes(FILE *file, const struct panel *panel)
{
    fprintf(
        file, "<text x='%d' y='%.0f' class='l'>%s</text>\n", LEFT, panel->top - 8, panel->label);
    draw_values(file, panel);
    draw_times(file, panel);
}

/* A line through the intervals; where nothing was measured, as latency without records, it is
 * interrupted. */
static void draw_line(FILE *file,
                      const struct panel *panel,
                      const struct bench_result *result,
                      value_of value,
                      const char *color)
{
    bool drawn = false;

    fprintf(file, "<path class='p' stroke='%s' d='", color);
    for (size_t i = 0; i < result->interval_count; i++) {
        const struct bench_interval *interval = &result->intervals[i];
        if (value(interval) < 0) {
            drawn = false;
            continue;
        }
        double x = x_of(panel, interval->begin_s + interval->seconds / 2);
        double y = y_of(panel, value(interval));
        if (!drawn) {
            fprintf(file, "M%.1f %.1f", x, y); /* a lone point is seen too */
        }
        fprintf(file, "L%.1f %.1f", x, y);
        drawn = true;
    }
    fprintf(file, "'/>\n");
}

void bench_picture(FILE *file, const char *title, const struct bench_result *result)
{
    const struct bench_interval *last =
        result->interval_count > 0 ? &result->intervals[result->interval_count - 1] : NULL;
    double end_s = last != NULL ? last->begin_s + last->seconds : 1;
    struct panel rate = { "records/s", TOP + 20, most_of(result, rate_of), 0, end_s };
    struct panel latency = { "latency in ms: p50 (blue), p99 (orange)",
                             TOP + 20 + PANEL_HEIGHT + BETWEEN,
                             most_of(result, p99_of),
                             0,
                             end_s };

    fprintf(file,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif' "
            "font-size='12'>\n<style>.g{stroke:#ddd}.y{text-anchor:end}.x{text-anchor:middle}"
            ".l{font-weight:bold}.t{stroke:#888}.p{fill:none;stroke-width:1.5;"
            "stroke-linejoin:round;stroke-linecap:round}</style>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n"
            "<text x='%d' y='24' font-size='16'>%s</text>\n",
            WIDTH,
            TOP + 20 + 2 * PANEL_HEIGHT + BETWEEN + 40,
            LEFT,
            title);
    draw_axes(file, &rate);
    draw_line(file, &rate, result, rate_of, "#1f77b4");
    draw_axes(file, &latency);
    draw_line(file, &latency, result, p50_of, "#1f77b4");
    draw_line(file, &latency, result, p99_of, "#ff7f0e");
    fprintf(file, "</svg>\n");
}
