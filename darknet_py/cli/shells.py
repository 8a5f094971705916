"""Scripts of completion for bash, zsh and fish."""
from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import groupby

from darknet_py.cli.completion import FILES, FOLDERS, Flag, Verb

# What bash and zsh share: three tables, and what they say of the words before the one that is completed.
COMMON = """_darknet_py_words() {{ case $1 in
{words}esac; }}
_darknet_py_flags() {{ case $1 in
{flags}esac; }}
_darknet_py_values() {{ case $1 in
{values}*) return 1;; esac; }}
_darknet_py_verb() {{     # of these words, with its action where it has one; ? where the first word is none
    local word verb= flag=
    for word in "$@"; do
        case "$verb $word" in
{verbs}        " "-*) flag=1;;
        " "*) [ -n "$flag" ] || verb='?';;
        esac
    done
    printf '%s' "$verb"
}}
_darknet_py_before() {{   # what may come behind the verb and the flag before: words, FILES or FOLDERS
    local values
    case $2 in -*) ;; *) _darknet_py_words "$1"; return;; esac
    values=$(_darknet_py_values "$1 -$(printf '%s' "${{2#-}}" | sed 's/^-//; y/-/_/')") || {{
        _darknet_py_words "$1"; return; }}
    printf '%s' "$values"
}}
"""
BASH = """# darknet-py completion bash
{common}_darknet_py() {{
    local current=$2 before=$3 verb found dash IFS=$' \\t\\n'
    verb=$(_darknet_py_verb "${{COMP_WORDS[@]:1:COMP_CWORD-1}}")
    COMPREPLY=()
    if [[ $current == -* ]]; then
        [[ $current == --* ]] && dash=-
        found=$(_darknet_py_flags "$verb")
        COMPREPLY=($(compgen -P "$dash" -W "$found" -- "${{current#$dash}}"))
        return
    fi
    found=$(_darknet_py_before "$verb" "$before")
    IFS=$'\\n'
    case " $found " in *" FILES "*) COMPREPLY=($(compgen -f -- "$current"));;
    *" FOLDERS "*) COMPREPLY=($(compgen -d -- "$current"));; esac
    found=$(printf '%s' "$found" | sed 's/FILES//; s/FOLDERS//; y/ /\\n/')
    COMPREPLY+=($(compgen -W "$found" -- "$current"))
}}
complete -o filenames -F _darknet_py darknet-py
"""
ZSH = """#compdef darknet-py
# darknet-py completion zsh
{common}_darknet_py() {{
    local current=${{words[CURRENT]}} before=${{words[CURRENT-1]}} verb found
    local -a known
    verb=$(_darknet_py_verb "${{(@)words[2,CURRENT-1]}}")
    if [[ $current == -* ]]; then
        known=(${{=$(_darknet_py_flags "$verb")}})
        [[ $current == --* ]] && known=(-$^known)
        compadd -- $known
        return
    fi
    found=$(_darknet_py_before "$verb" "$before")
    known=(${{=found}})
    (( $known[(Ie)FILES] )) && _files
    (( $known[(Ie)FOLDERS] )) && _files -/
    known=(${{known:#(FILES|FOLDERS)}})
    compadd -- $known
}}
if [[ $funcstack[1] == _darknet_py ]]; then _darknet_py "$@"; else compdef _darknet_py darknet-py; fi
"""

FISH = """# darknet-py completion fish
complete -c darknet-py -f
function __darknet_py_is    # whether this is the verb before the cursor, with its action where it has one
    set -l found
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or set -a found $word
    end
    switch "$found[1]"
        case detector classifier rnn
            test "$found[1..2]" = $argv[1]
        case '*'
            test "$found[1]" = $argv[1]
    end
end
"""


def bash(table: Mapping[str, Verb]) -> str:
    return BASH.format(common=common(table))


def zsh(table: Mapping[str, Verb]) -> str:
    return ZSH.format(common=common(table))


def common(table: Mapping[str, Verb]) -> str:
    """The tables as functions of sh."""
    first = [name for name in table if " " not in name]
    names = cases({"": " ".join(first)} | {
        name: " ".join([*verb.words, *FILES * verb.files]) for name, verb in table.items()})
    flags = cases({"": "-help -version"} | {name: " ".join(flag.name for flag in verb.flags)
                                            for name, verb in table.items()})
    values = cases({f"{name} {flag.name}": " ".join(flag.values) for name, verb in table.items()
                    for flag in verb.flags if flag.values is not None})
    found = "".join(f'        {"|".join(sh(key) for key in several)}) verb={change};;\n' for several, change in (
        ([f" {name}" for name in first], "$word"), ([name for name in table if " " in name], '"$verb $word"')))
    return COMMON.format(words=names, flags=flags, values=values, verbs=found)


def cases(table: Mapping[str, str]) -> str:
    """Branches of a case; those with the same words are one."""
    rows = sorted(table.items(), key=lambda item: item[1])
    return "".join(f"    {'|'.join(sh(key) for key, _ in several)}) printf '%s' {sh(words)};;\n"
                   for words, several in groupby(rows, key=lambda item: item[1]))


def sh(text: str) -> str:
    return shlex.quote(text)


def fish(table: Mapping[str, Verb]) -> str:
    """A line a word or flag; conditions ask which verb, and action, stands on the line."""
    from darknet_py.cli import VERBS
    lines = []
    for name in (name for name in table if " " not in name):
        text = VERBS[name][1] if name in VERBS else "explain a verb"
        lines.append(complete("", f"-a {name} -d {quoted(text.rpartition(': ')[0] or text)}"))
    lines += [complete("", "-o help"), complete("", "-o version")]
    for name, verb in table.items():
        if verb.files:
            lines.append(complete(name, "-F"))
        if verb.words:
            lines.append(complete(name, f"-a {quoted(' '.join(verb.words))}"))
        lines += [complete(name, f"-o {flag.name[1:]}{fish_values(flag)} -d {quoted(flag.help)}")
                  for flag in verb.flags]
    return FISH + "\n".join(lines) + "\n"


def complete(name: str, what: str) -> str:
    return f"complete -c darknet-py -n {quoted(f'__darknet_py_is {quoted(name)}')} {what}"


def fish_values(flag: Flag) -> str:
    if flag.values is None:
        return ""
    if flag.values == FILES:
        return " -r -F"
    if flag.values == FOLDERS:
        return " -x -a '(__fish_complete_directories)'"
    return f" -x -a {quoted(' '.join(flag.values))}" if flag.values else " -x"


def quoted(text: str) -> str:
    """A string of fish, where a backslash and a single quote alone have a meaning."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
