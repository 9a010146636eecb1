"""What programs of C, C++, Java, C#, Dart, JavaScript and TypeScript define, and what only looks like it."""

import pytest

from foveal.text.programs import definitions

C = """\
#include <stdio.h>
#define EACH(x) for (x = 0; x < 3; x++) { \\
    look(x); }
int look(int at);
static const int table[] = {1, 2};
struct eye { int open; };
typedef struct { int lens; } glass_t;
typedef enum lid { UP, DOWN } lid_t;
struct eye *found = &(struct eye){ 1 };

/* What it sees. */
static inline char *
seen(struct eye *eye,
     int (*by)(int))
{
    if (by(1)) { return "int no(void) {"; }
    for (;;) { EACH(eye->open) }
    while (look(2)) { switch (3) { case 4: { } } }
    // int no(void) {
    return 0;
}

#ifdef WIDE
int wide(int at) {
    if (at) {
#else
int wide(long at) {
    if (at == '{') {
#endif
        look(1);
    }
    return 0;
}
int old(a, b)
    int a;
    char *b;
{
    return a;
}
void (*handler(int sign, void (*by)(int)))(int) {
}
__attribute__((unused)) static struct eye made(void) __attribute__((cold)) { }
int MACRO_NAMED(named)(int at) { }
TEST(Eye, Looks) { look(1); }
int NOTHROW(quiet (int at)) { }
enum { NONE };
"""

CPP = """\
namespace sight::eye {
extern "C" { void opened(void) { } }
template <typename T, int N = 3>
class API Eye final : public Organ<T>, private Base {
 public:
  Eye() = default;
  explicit Eye(int at) : Organ<T>(at), at_{at}, open_{true} { look(at); }
  virtual ~Eye() noexcept override { }
  bool operator==(const Eye& other) const { return at_ == other.at_; }
  void operator()(int at) { }
  operator bool() const { return true; }
  auto look(int at) const -> std::vector<int> {
    auto by = [&](int one) { return one; };
    if (at < 3 && at > 1) { return {1, 2}; }
    struct Local { int x; };
  }
  NOT_A_TYPE int seen() const { return 0; }
  struct Lens { void turn() { } };
 private:
  std::map<int, std::string> kept_{};
};
template <> struct Traits<Eye<int>> { };
auto lambda = [](int x) { return x; };
const char* raw = R"(void no() {)";
}  // namespace
template <class T>
typename Eye<T>::Lens Eye<T>::lens(int at) & noexcept(true) {
}
std::ostream& operator<<(std::ostream& out, const Eye& eye) { return out; }
"""

JAVA = """\
package sight;
/** class No { */
@Marked({"a", "b"})
public final class Eye<T extends Comparable<T>> extends Organ implements Seeing, Open {
    private final int[] at = {1, 2};
    static { look(); }
    public Eye(int at) { super(at); }
    @Override @Timed("x")
    public <R> Map<String, List<R>> look(final int at, @Nullable String by)
            throws IOException, SightError
    {
        for (int one : this.at) { if (one > 1) { } else { } }
        synchronized (this) { }
        Runnable run = () -> { };
        return new Seeing() {
            public void seen() { }
        };
    }
    abstract void closed();
    enum Lid { UP { void move() { } }, DOWN(1) { }; Lid() { } }
    record Point(int x, int y) { }
    @interface Marker { }
    interface Seeing { default void seen() { } }
}
"""

CS = """\
using System;
#region no
namespace Sight.Eyes {
    [Serializable]
    public class Eye : Organ {
        public int At { get { return 1; } set { } }
        public Eye(int at) : base(at) { }
        public async Task<int> Look<T>(T at) where T : new() { return 1; }
        public int Twice(int at) => at * 2;
        Func<int, int> by = (x) => { return x; };
        string path = @"C:\\";
        void IOrgan.Open() { }
        public static explicit operator bool(Eye eye) => true;
    }
    record struct Point(int X) { }
    enum Lid { Up }
}
"""

DART = """\
void main() async { look(); }
class Eye extends Organ with Lid {
  Eye(this.at) : super() { }
  factory Eye.open() { return Eye(1); }
  int get wide { return 1; }
  bool shut() => true;
  seen(x) { if (x) { } }
}
"""

JS = """\
import {a, b} from "x";
const table = { a: 1 }
const run = async ({a, b}, c) => {
  if (a) { for (const x of b) { } }
  function inner() { }
  items.map(x => { return x })
}
const short = (a) => a + 1
export default function look(at) { return /[{'"]/.test(at) ? `a${b}{` : 'it' }
function* each() { }
class Eye extends Organ {
  open = true
  #at = 1
  constructor(at) { super(at) }
  static async look(at) { while (at) { } }
  get wide() { return 1 }
  get (name) { return name }
  #hidden() { }
  [Symbol.iterator]() { }
  by = (at) => { }
  *all() { }
}
Eye.prototype.seen = function (at) { }
module.exports = {
  first() { return { no: 1 } },
  second: function () { },
  third: async (x) => { },
  if: 1,
}
describe("no", () => {
  it("no", function () { })
})
"""

TS = """\
export type Sight = string | number;
type Shape = { look(): void; at: { x: number } }
interface Eye<T> extends Organ {
  look(at: number): Promise<void>;
}
@Component({ selector: "x" })
export class Wide<T> implements Eye<T>,
    Open {
  constructor(private readonly at: Map<string, number>) { super(); }
  look(at: number): Promise<Map<string, (x: T) => void>> { return at; }
  private async seen?(): Promise<void> { }
}
export function over(at: string): void;
export function over(by: (x: number) => boolean): (x: number) => boolean { }
const typed: Look<number> = (at: number): boolean => { return true }
declare module Sight { function no(): void; }
enum Lid { Up }
abstract class Base { abstract no(): void; protected yes(): void { } }
"""

OBJC = """\
@implementation Eye
- (instancetype)initWithLens:(Lens *)lens open:(BOOL)open {
    [self each:^(int x) { }];
}
+ (void)close { }
static int helper(void) { return 1; }
@end
"""

TOLD = {
    "c": "struct eye|struct glass_t|enum lid|seen()|wide()|wide()|old()|handler()|made()|MACRO_NAMED(named)"
    "|TEST(Eye, Looks)|quiet()",
    "cpp": "namespace sight::eye|  opened()|  class Eye|    Eye()|    ~Eye()|    operator==()|    operator()()"
    "|    operator bool()|    look()|      struct Local|    seen()|    struct Lens|      turn()|  struct Traits"
    "|Eye::lens()|operator<<()",
    "java": "class Eye|  Eye()|  look()|    seen()|  enum Lid|    move()|    Lid()|  record Point|  @interface Marker"
    "|  interface Seeing|    seen()",
    "cs": "namespace Sight.Eyes|  class Eye|    Eye()|    Look()|    Twice()|    IOrgan.Open()"
    "|    operator bool()|  record struct Point"
    "|  enum Lid",
    "dart": "main()|class Eye|  Eye()|  Eye.open()|  wide()|  shut()|  seen()",
    "js": "run()|  function inner|short()|function look|function each|class Eye|  constructor()|  look()|  wide()"
    "|  get()|  #hidden()|  [Symbol.iterator]()|  by()|  all()|Eye.prototype.seen()|first()|second()|third()",
    "ts": "type Sight|type Shape|interface Eye|class Wide|  constructor()|  look()|  seen()|function over|typed()"
    "|module Sight|enum Lid|class Base|  yes()",
    "m": "- initWithLens:open:|+ close|helper()",
}
PROGRAMS = {"c": C, "cpp": CPP, "java": JAVA, "cs": CS, "dart": DART, "js": JS, "ts": TS, "m": OBJC}


def told(text, language):
    return [f"{'  ' * (one.level - 1)}{one.title}" for one in definitions(text, language)]


@pytest.mark.parametrize("language", PROGRAMS)
def test_what_a_program_defines(language):
    assert told(PROGRAMS[language], language) == TOLD[language].split("|")


@pytest.mark.parametrize("language", PROGRAMS)
def test_windows_line_ends_change_nothing(language):
    assert told(PROGRAMS[language].replace("\n", "\r\n"), language) == TOLD[language].split("|")


def test_a_component_defines_what_its_script_does():
    page = "<template><p>It's {{ open }} function no() {</p></template>\n<script>\nfunction look() {\n}\n</script>\n"
    assert told(page, "vue") == ["function look"]


def test_braces_that_do_not_fit_cost_no_function_behind_them():
    text = "void first(int at) {\n#if A\n  if (at) {\n#endif\n  look();\n}\n\nstatic int second(int at)\n{\n}\n"
    assert told(text, "c") == ["first()", "second()"]


def test_a_heading_ends_before_what_stands_behind_its_brace():
    text = "int one(void) { return 1; }\nint two(void)\n{\n}\n"
    one, two = definitions(text, "c")
    assert (text[one.start : one.end], text[two.start : two.end]) == ("int one(void) {", "int two(void)\n{\n")


def test_functions_within_functions_are_told_three_deep():
    text = "".join(f"{'  ' * n}function f{n}() {{\n" for n in range(5)) + "}\n" * 5
    assert told(text, "js") == ["function f0", "  function f1", "    function f2"]


@pytest.mark.parametrize("language", [*PROGRAMS, "vue"])
@pytest.mark.parametrize(
    "part",
    [
        *(
            "f(",
            "f(){",
            ") {",
            "{",
            "}",
            "f(){};",
            "x<",
            "a :: ",
            "operator ",
            "template<a<",
            "A(x) ",
            "=>",
            "a: ",
            "@A\n",
        ),
        *("int f(a,b) int a;", "#if A\n", "#else\nf(){\n", "'", '"', "/*", "`", 'R"(', "const f = () => ", "x = (\n"),
        *("if (x) {\n", "class A ", "new A() {", "\n", "'\\", "function f(a){look('b')};"),
    ],
)
def test_a_long_one_takes_no_longer_than_it_is(language, part):
    definitions(part * (30_000 // len(part)), language)
