# What a WSGI server understood: prints, for each whole request, its port, method, target, host, how many bytes of content, and
# these in hexadecimal digits. gunicorn runs it as told:told.
import os


def told(environ, start_response):
    content = environ['wsgi.input'].read()
    # Content that breaks off ends without an error.
    if len(content) < int(environ.get('CONTENT_LENGTH') or 0):
        raise EOFError('the content breaks off')
    target, host = environ['RAW_URI'], environ.get('HTTP_HOST', '')
    words = environ['SERVER_PORT'], environ['REQUEST_METHOD'], target, host, str(len(content)), content.hex()
    os.write(1, (' '.join(words) + '\n').encode('utf-8', 'backslashreplace'))
    start_response('200 OK', [('Content-Length', '4')])
    return [b'told']
